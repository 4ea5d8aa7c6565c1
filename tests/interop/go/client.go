package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// answers is one line of output: what became of the calls that one line of input asked for.
type answers struct {
	Instances map[string]int `json:"instances"`
	Failures  []string       `json:"failures"`
}

// call makes as many calls as each line of standard input says, until that ends.
func call(
	ctx context.Context, etcd *clientv3.Client, target, policy string,
	method protoreflect.MethodDescriptor,
) error {
	builder, err := resolver.NewBuilder(etcd)
	if err != nil {
		return err
	}
	channel, err := grpc.NewClient(
		"etcd:///"+target,
		grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)),
	)
	if err != nil {
		return err
	}
	defer channel.Close()
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		count, err := strconv.Atoi(lines.Text())
		if err != nil {
			return fmt.Errorf("expected a number of calls: %w", err)
		}
		if err := out.Encode(say(ctx, channel, method, count)); err != nil {
			return err
		}
	}
	return nil
}

func say(
	ctx context.Context, channel *grpc.ClientConn, method protoreflect.MethodDescriptor, count int,
) answers {
	found := answers{Instances: map[string]int{}, Failures: []string{}}
	request, instance := method.Input(), method.Output().Fields().ByName("instance")
	for range count {
		question := dynamicpb.NewMessage(request)
		question.Set(request.Fields().ByName("text"), protoreflect.ValueOfString("from Go"))
		reply := dynamicpb.NewMessage(method.Output())
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := channel.Invoke(limited, path(method), question, reply, grpc.WaitForReady(true))
		cancel()
		if err != nil {
			found.Failures = append(found.Failures, err.Error())
		} else {
			found.Instances[reply.Get(instance).String()]++
		}
	}
	return found
}

// path is the method's name on the wire.
func path(method protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
}
