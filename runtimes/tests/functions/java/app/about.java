package app;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.LinkedHashMap;
import java.util.Map;

public class about extends Base<Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        Map<String, Object> about = new LinkedHashMap<>();
        about.put("function_name", context.getFunctionName());
        about.put("function_version", context.getFunctionVersion());
        about.put("invoked_function_arn", context.getInvokedFunctionArn());
        about.put("memory_limit", String.valueOf(context.getMemoryLimitInMB()));
        about.put("request_id", context.getAwsRequestId());
        about.put("log_group", context.getLogGroupName());
        about.put("log_stream", context.getLogStreamName());
        about.put("remaining", context.getRemainingTimeInMillis());
        return about;
    }
}
