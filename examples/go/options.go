package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"

	"tandem-chat/tandemv1"
)

// options are the command line. A nil pointer is an option that was not given: its field stays
// absent in the request, so that the server's default holds.
type options struct {
	prompt, edge  string
	maxTokens     *uint32
	temperature   *float32
	topP          *float32
	timeout       time.Duration
	ca, cert, key string
	tokenFile     string
	jsonSchema    string
}

func parseOptions() options {
	var given options
	flag.StringVar(&given.edge, "edge", "127.0.0.1:50050", "`HOST:PORT` of the edge-agent")
	flag.Func("max-tokens", "the most tokens of the answer, `N`", func(text string) error {
		number, err := strconv.ParseUint(text, 10, 32)
		value := uint32(number)
		given.maxTokens = &value
		return err
	})
	flag.Func("temperature", "0 is greedy; without it the model's own: `T`", float(&given.temperature))
	flag.Func("top-p", "keep the most likely tokens up to this probability, `P`", float(&given.topP))
	flag.DurationVar(&given.timeout, "timeout", 2*time.Minute, "how long the whole answer may take")
	flag.Func("json-schema", "a `FILE` with the JSON schema of the answer", func(path string) error {
		schema, err := os.ReadFile(path)
		given.jsonSchema = string(schema)
		return err
	})
	flag.StringVar(&given.ca, "ca", "", "use TLS, and trust servers of the authorities in this PEM `FILE`")
	flag.StringVar(&given.cert, "cert", "", "with -ca and -key: the client's own certificate, PEM `FILE`")
	flag.StringVar(&given.key, "key", "", "its private key, PEM `FILE`")
	flag.StringVar(&given.tokenFile, "token-file", "", "a `FILE` with the token to show an edge that asks for one")
	flag.Parse()
	if flag.NArg() != 1 || (given.cert == "") != (given.key == "") || (given.cert != "" && given.ca == "") {
		flag.Usage()
		os.Exit(2)
	}
	given.prompt = flag.Arg(0)
	return given
}

func float(into **float32) func(string) error {
	return func(text string) error {
		number, err := strconv.ParseFloat(text, 32)
		value := float32(number)
		*into = &value
		return err
	}
}

// credentials are TLS as the options say; nil for plain text.
func (given options) credentials() (credentials.TransportCredentials, error) {
	if given.ca == "" {
		return nil, nil
	}
	authorities, err := os.ReadFile(given.ca)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !config.RootCAs.AppendCertsFromPEM(authorities) {
		return nil, errors.New(given.ca + ": no certificate in it")
	}
	if given.cert != "" {
		own, err := tls.LoadX509KeyPair(given.cert, given.key)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", given.cert, given.key, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), nil
}

// token is what the call shows the edge; empty where none is asked for.
func (given options) token() (string, error) {
	if given.tokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(given.tokenFile)
	return strings.TrimSpace(string(text)), err
}

// request is a conversation of one message. For the next turn, send all messages so far.
func (given options) request() *tandemv1.ChatRequest {
	request := &tandemv1.ChatRequest{
		Messages:  []*tandemv1.ChatMessage{{Role: "user", Content: given.prompt}},
		Sampling:  &tandemv1.SamplingParameters{Temperature: given.temperature, TopP: given.topP},
		MaxTokens: given.maxTokens,
	}
	if given.jsonSchema != "" {
		// The answer is nothing but such JSON. The model knows of it only what the prompt says.
		form := &tandemv1.Constraint_JsonSchema{JsonSchema: given.jsonSchema}
		request.Constraint = &tandemv1.Constraint{Form: form}
	}
	return request
}
