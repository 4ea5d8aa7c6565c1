package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// leaseSeconds is how long etcd keeps what a dead server has announced.
const leaseSeconds = 5

// serve answers Say under a lease until a signal comes, then leaves as a good citizen does.
// A line of standard input announces the server again, with that line as its zone.
func serve(
	ctx context.Context, etcd *clientv3.Client, target string, method protoreflect.MethodDescriptor,
) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	server := grpc.NewServer()
	server.RegisterService(echoService(method, address), nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	lease, err := etcd.Grant(ctx, leaseSeconds)
	if err != nil {
		return err
	}
	kept, err := etcd.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	manager, err := endpoints.NewManager(etcd, target)
	if err != nil {
		return err
	}
	announce := func(zone string) error {
		endpoint := endpoints.Endpoint{Addr: address, Metadata: map[string]string{"zone": zone}}
		key := target + "/" + address
		return manager.AddEndpoint(ctx, key, endpoint, clientv3.WithLease(lease.ID))
	}
	if err := announce("a"); err != nil {
		return err
	}
	fmt.Println(address)
	if err := attend(ctx, announce, kept, served); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := manager.DeleteEndpoint(last, target+"/"+address); err != nil {
		return err
	}
	server.GracefulStop()
	_, err = etcd.Revoke(last, lease.ID)
	return err
}

// attend returns when the server is to leave; an error if it can't go on.
func attend(
	ctx context.Context, announce func(zone string) error,
	kept <-chan *clientv3.LeaseKeepAliveResponse, served <-chan error,
) error {
	zones := make(chan string)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			zones <- strings.TrimSpace(lines.Text())
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		case _, alive := <-kept:
			if !alive && ctx.Err() == nil {
				return fmt.Errorf("the lease is lost")
			}
		case zone := <-zones:
			if err := announce(zone); err != nil {
				return err
			}
		}
	}
}

// echoService describes the service as grpc-go wants it, with Say for its only method.
func echoService(method protoreflect.MethodDescriptor, address string) *grpc.ServiceDesc {
	say := func(
		_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
	) (any, error) {
		request := dynamicpb.NewMessage(method.Input())
		if err := decode(request); err != nil {
			return nil, err
		}
		reply := dynamicpb.NewMessage(method.Output())
		fields := method.Output().Fields()
		reply.Set(fields.ByName("text"), request.Get(method.Input().Fields().ByName("text")))
		reply.Set(fields.ByName("instance"), protoreflect.ValueOfString(address))
		return reply, nil
	}
	return &grpc.ServiceDesc{
		ServiceName: string(method.Parent().FullName()),
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: string(method.Name()), Handler: say}},
	}
}
