// Streams a chat answer from an edge-agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"tandem-chat/tandemv1" // Not there yet? `go generate` writes it; README.md says what that needs.
)

//go:generate ./generate

func main() {
	os.Exit(run())
}

// run returns the exit code: 0 after an answer, 1 after an error, 130 when interrupted.
func run() int {
	given := parseOptions()
	creds, err := given.credentials()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	token, err := given.token()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	conn, err := dial(given.edge, creds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer conn.Close()

	// Ctrl-C cancels the context, and so the call, which frees its session on edge and cloud. The
	// deadline travels with the call: the edge stops computing when it passes.
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(interrupted, given.timeout)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}

	err = chat(ctx, tandemv1.NewGenerationServiceClient(conn), given.request())
	switch {
	case err == nil:
		return 0
	case interrupted.Err() != nil && status.Code(err) == codes.Canceled:
		fmt.Fprintln(os.Stderr, "\ncancelled")
		return 130
	default:
		fmt.Fprintln(os.Stderr, "\n"+describe(err))
		return 1
	}
}

// chat prints an answer as it comes.
func chat(ctx context.Context, client tandemv1.GenerationServiceClient, request *tandemv1.ChatRequest) error {
	answer, err := client.Chat(ctx, request)
	if err != nil {
		return err
	}
	for {
		response, err := answer.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch event := response.Event.(type) {
		case *tandemv1.ChatResponse_Delta:
			fmt.Print(event.Delta.Text)
		case *tandemv1.ChatResponse_Finished:
			fmt.Println()
			fmt.Fprintf(os.Stderr, "%d tokens, %.1f a second, %s\n", event.Finished.CompletionTokens,
				event.Finished.Timings.GetTokensPerSecond(), event.Finished.FinishReason)
		}
	}
}

// describe is a status with what its google.rpc details say: reason, fields, when to try again. There
// are no details when gRPC itself made the status, as for a server that cannot be reached.
func describe(err error) string {
	failed := status.Convert(err)
	lines := []string{fmt.Sprintf("%s: %s", failed.Code(), failed.Message())}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			lines = append(lines, "  reason: "+detail.Reason)
		case *errdetails.BadRequest:
			for _, v := range detail.FieldViolations {
				lines = append(lines, fmt.Sprintf("  field %s: %s", v.Field, v.Description))
			}
		case *errdetails.RetryInfo:
			delay := time.Duration(detail.RetryDelay.GetSeconds())*time.Second +
				time.Duration(detail.RetryDelay.GetNanos())
			lines = append(lines, fmt.Sprintf("  retry after: %g s", delay.Seconds()))
		}
	}
	return strings.Join(lines, "\n")
}

func init() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: tandem-chat [option...] PROMPT")
		flag.PrintDefaults()
	}
}
