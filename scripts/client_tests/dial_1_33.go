package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// dial does what examples/go/dial.go does, with grpc before 1.63 as Debian 12 has it: there is no
// NewClient yet, and no package of credentials for plain text.
func dial(edge string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	if creds == nil {
		return grpc.Dial(edge, grpc.WithInsecure())
	}
	return grpc.Dial(edge, grpc.WithTransportCredentials(creds))
}
