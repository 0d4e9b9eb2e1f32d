#!/bin/sh
# A runtime in a shell, as AWS's documentation shows one.
set -eu
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
head=$(mktemp)
calls=0
of() { grep -i "^$1:" "$head" | tr -d '[:space:]' | cut -d: -f2-; }
while true; do
  event=$(curl -sS -L -D "$head" "$api/invocation/next")
  calls=$((calls + 1))
  id=$(of lambda-runtime-aws-request-id)
  left=$(($(of lambda-runtime-deadline-ms) - $(date +%s%3N)))
  case "$event" in
    *fail*)
      curl -sS -o /dev/null "$api/invocation/$id/error" -H 'Lambda-Runtime-Function-Error-Type: AsAsked' \
        -d '{"errorType":"AsAsked","errorMessage":"as asked"}' ;;
    *)
      echo "mark $(printf %s "$event" | sed 's/.*"n": *\([0-9]*\).*/\1/')"
      printf '{"event":%s,"id":"%s","name":"%s","arn":"%s","calls":%s,"left":%s}' "$event" "$id" \
        "$AWS_LAMBDA_FUNCTION_NAME" "$(of lambda-runtime-invoked-function-arn)" "$calls" "$left" |
        curl -sS -o /dev/null "$api/invocation/$id/response" --data-binary @- ;;
  esac
done
