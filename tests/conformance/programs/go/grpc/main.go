// A gRPC server on $PORT; with arguments ADDRESS AUTHORITY, a client that calls one and prints what came, as JSON.
// Its service is described by hand, with messages that come with protobuf: there is nothing to generate.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type text = wrapperspb.StringValue

type words struct{}

var service = grpc.ServiceDesc{
	ServiceName: "test.Words",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Upper", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		asked := new(text)
		if err := decode(asked); err != nil {
			return nil, err
		}
		switch asked.Value {
		case "fail":
			return nil, status.Error(codes.FailedPrecondition, "as asked")
		case "crash":
			os.Exit(9)
		}
		given, _ := metadata.FromIncomingContext(ctx)
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-mine", strings.Join(given.Get("x-mine"), ",")))
		return wrapperspb.String(strings.ToUpper(asked.Value)), nil
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Spell", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			asked := new(text)
			if err := stream.RecvMsg(asked); err != nil {
				return err
			}
			for _, letter := range asked.Value {
				if err := stream.SendMsg(wrapperspb.String(string(letter))); err != nil {
					return err
				}
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}},
		{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			for {
				asked := new(text)
				if err := stream.RecvMsg(asked); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := stream.SendMsg(wrapperspb.String("re: " + asked.Value)); err != nil {
					return err
				}
			}
		}},
	},
}

func main() {
	if len(os.Args) == 3 {
		ask(os.Args[1], os.Args[2])
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	must(err)
	server := grpc.NewServer()
	server.RegisterService(&service, words{})
	must(server.Serve(listener))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ask(address, authority string) {
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithAuthority(authority),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	seen := map[string]any{}

	var trailer metadata.MD
	answer := new(text)
	mine := metadata.AppendToOutgoingContext(ctx, "x-mine", "yes")
	must(connection.Invoke(mine, "/test.Words/Upper", wrapperspb.String("hello"), answer, grpc.Trailer(&trailer)))
	seen["unary"], seen["trailer"] = answer.Value, strings.Join(trailer.Get("x-mine"), ",")

	err = connection.Invoke(ctx, "/test.Words/Upper", wrapperspb.String("fail"), answer)
	seen["error"] = []any{status.Code(err).String(), status.Convert(err).Message()}
	err = connection.Invoke(ctx, "/test.Words/Missing", wrapperspb.String(""), answer)
	seen["missing"] = status.Code(err).String()

	large := strings.Repeat("x", 3_000_000)
	must(connection.Invoke(ctx, "/test.Words/Upper", wrapperspb.String(large), answer))
	seen["large"] = len(answer.Value)

	spelt, gaps, last := []string{}, 0, time.Time{}
	stream, err := connection.NewStream(ctx, &service.Streams[0], "/test.Words/Spell")
	must(err)
	must(stream.SendMsg(wrapperspb.String("flour")))
	must(stream.CloseSend())
	for stream.RecvMsg(answer) == nil {
		if !last.IsZero() && time.Since(last) > 40*time.Millisecond {
			gaps++
		}
		last = time.Now()
		spelt = append(spelt, answer.Value)
	}
	seen["streamed"], seen["gaps"] = spelt, gaps

	chat, err := connection.NewStream(ctx, &service.Streams[1], "/test.Words/Chat")
	must(err)
	replies := []string{}
	for _, line := range []string{"one", "two"} {
		must(chat.SendMsg(wrapperspb.String(line)))
		must(chat.RecvMsg(answer))
		replies = append(replies, answer.Value)
	}
	must(chat.CloseSend())
	seen["chat"], seen["chat_end"] = replies, errors.Is(chat.RecvMsg(answer), io.EOF)

	err = connection.Invoke(ctx, "/test.Words/Upper", wrapperspb.String("crash"), answer)
	seen["crash"] = status.Code(err).String()
	must(connection.Invoke(ctx, "/test.Words/Upper", wrapperspb.String("again"), answer))
	seen["again"] = answer.Value
	must(json.NewEncoder(os.Stdout).Encode(seen))
}
