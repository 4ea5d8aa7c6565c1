// Package main speaks for the Go side of a fleet: a client that finds services with etcd's own
// gRPC resolver, and a server that announces itself with etcd's own endpoint manager.
//
//	interop -proto FILE [-policy NAME] client ETCD,ETCD... NAMESPACE/SERVICE
//	interop -proto FILE server ETCD,ETCD... NAMESPACE/SERVICE
//
// FILE is a FileDescriptorProto, as protoc and protobuf's own libraries write it, so there is no
// generated code here to grow old.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const patience = 10 * time.Second

func main() {
	descriptor := flag.String("proto", "", "file with the FileDescriptorProto of the echo service")
	policy := flag.String("policy", "round_robin", "the client's load balancing policy")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *descriptor, *policy, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, descriptor, policy string, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: interop -proto FILE client|server ETCD,ETCD... NAMESPACE/SERVICE")
	}
	echo, err := loadEcho(descriptor)
	if err != nil {
		return err
	}
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints:   strings.Split(args[1], ","),
		DialTimeout: patience,
	})
	if err != nil {
		return err
	}
	defer etcd.Close()
	switch args[0] {
	case "client":
		return call(ctx, etcd, args[2], policy, echo)
	case "server":
		return serve(ctx, etcd, args[2], echo)
	}
	return fmt.Errorf("%q is neither client nor server", args[0])
}

// loadEcho reads the contract and returns its method Say.
func loadEcho(path string) (protoreflect.MethodDescriptor, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	contract, err := protodesc.NewFile(&file, nil)
	if err != nil {
		return nil, err
	}
	service := contract.Services().ByName("Echo")
	if service == nil {
		return nil, fmt.Errorf("%s has no service Echo", path)
	}
	return service.Methods().ByName("Say"), nil
}
