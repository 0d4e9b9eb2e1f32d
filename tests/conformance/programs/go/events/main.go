// A function of aws-lambda-go: it gives back its event, or does what that says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// NoMilk is an error with a type of its own.
type NoMilk struct{ Litres int }

func (e NoMilk) Error() string { return fmt.Sprintf("%d litres of milk are missing", e.Litres) }

var calls int

func answer(ctx context.Context, event json.RawMessage) (any, error) {
	calls++
	var asked struct{ Do string }
	// What is no object says nothing.
	_ = json.Unmarshal(event, &asked)
	switch asked.Do {
	case "error":
		return nil, errors.New("as asked")
	case "typed-error":
		return nil, NoMilk{2}
	case "panic":
		panic("at the disco")
	case "exit":
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Minute)
	case "log":
		fmt.Println("to standard output")
		fmt.Fprintln(os.Stderr, "to standard error")
		return "logged", nil
	case "count":
		return calls, nil
	case "large":
		return strings.Repeat("x", 7_000_000), nil
	case "context":
		about, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{
			"request_id":   about.AwsRequestID,
			"arn":          about.InvokedFunctionArn,
			"remaining_ms": time.Until(deadline).Milliseconds(),
			"trace":        ctx.Value("x-amzn-trace-id"),
			"name":         lambdacontext.FunctionName,
			"memory":       fmt.Sprint(lambdacontext.MemoryLimitInMB),
			"greeting":     os.Getenv("GREETING"),
			"handler":      os.Getenv("_HANDLER"),
			"root":         os.Getenv("LAMBDA_TASK_ROOT"),
		}, nil
	}
	return event, nil
}

func main() {
	if os.Getenv("FAIL_INIT") != "" {
		fmt.Fprintln(os.Stderr, "no database")
		os.Exit(4)
	}
	lambda.Start(answer)
}
