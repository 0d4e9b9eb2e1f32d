#!/usr/bin/env bash
# A script for AWS: the life of a function by the `aws` command. Nothing in it knows of Hearth; the environment says where
# AWS is. Arguments: a name for what it makes, a zip, another zip. Prints what it saw, one word and its value a line.
set -euo pipefail
name=$1 first=$2 second=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say() { printf '%s %s\n' "$1" "$2"; }
invoke() {
    aws lambda invoke --function-name "$1" --payload '{"n": 1}' "$folder/answer" >"$folder/said"
    cat "$folder/answer"
}

say account "$(aws sts get-caller-identity --query Account --output text)"
role=$(aws iam create-role --role-name "$name-role" --query Role.Arn --output text --assume-role-policy-document '{
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}')
aws iam attach-role-policy --role-name "$name-role" \
    --policy-arn arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole

aws lambda create-function --function-name "$name" --runtime python3.11 --handler app.handler --role "$role" \
    --zip-file "fileb://$first" >/dev/null
aws lambda wait function-active-v2 --function-name "$name"
say first "$(invoke "$name")"
one=$(aws lambda publish-version --function-name "$name" --query Version --output text)
aws lambda create-alias --function-name "$name" --name live --function-version "$one" >/dev/null
aws lambda update-function-code --function-name "$name" --zip-file "fileb://$second" >/dev/null
aws lambda wait function-updated-v2 --function-name "$name"
two=$(aws lambda publish-version --function-name "$name" --query Version --output text)
aws lambda update-alias --function-name "$name" --name live --routing-config "AdditionalVersionWeights={$two=0.5}" >/dev/null
for _ in 1 2 3 4; do say shared "$(invoke "$name:live")"; done
aws lambda update-alias --function-name "$name" --name live --function-version "$two" \
    --routing-config 'AdditionalVersionWeights={}' >/dev/null
say moved "$(invoke "$name:live")"

url=$(aws sqs create-queue --queue-name "$name-done" --query QueueUrl --output text)
queue=$(aws sqs get-queue-attributes --queue-url "$url" --attribute-names QueueArn --query Attributes.QueueArn --output text)
aws lambda put-function-event-invoke-config --function-name "$name" --maximum-retry-attempts 0 \
    --destination-config "{\"OnSuccess\": {\"Destination\": \"$queue\"}}" >/dev/null
aws lambda invoke --function-name "$name" --invocation-type Event --payload '{"n": 7}' "$folder/answer" >/dev/null
say record "$(aws sqs receive-message --queue-url "$url" --wait-time-seconds 20 --query 'Messages[0].Body' --output text)"

aws scheduler create-schedule --name "$name-soon" --schedule-expression 'rate(1 minute)' --flexible-time-window Mode=OFF \
    --target "Arn=arn:aws:lambda:$AWS_REGION:$(aws sts get-caller-identity --query Account --output text):function:$name,RoleArn=$role" >/dev/null
say schedule "$(aws scheduler get-schedule --name "$name-soon" --query ScheduleExpression --output text)"
aws scheduler delete-schedule --name "$name-soon"

for _ in $(seq 50); do
    lines=$(aws logs filter-log-events --log-group-name "/aws/lambda/$name" --filter-pattern seven --query 'length(events)' --output text)
    [ "$lines" = 0 ] || break
    sleep 0.2
done
say lines "$lines"

aws lambda delete-function --function-name "$name"
aws sqs delete-queue --queue-url "$url"
aws iam detach-role-policy --role-name "$name-role" \
    --policy-arn arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole
aws iam delete-role --role-name "$name-role"
if aws lambda get-function --function-name "$name" >/dev/null 2>"$folder/error"; then say gone no; else say gone yes; fi
