import java.util.LinkedHashMap;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Map<String, Object> handler(Object event, Context context) {
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("id", context.getAwsRequestId());
        seen.put("name", context.getFunctionName());
        seen.put("version", context.getFunctionVersion());
        seen.put("memory", String.valueOf(context.getMemoryLimitInMB()));
        seen.put("arn", context.getInvokedFunctionArn());
        seen.put("group", context.getLogGroupName());
        seen.put("stream", context.getLogStreamName());
        seen.put("identity", context.getIdentity());
        seen.put("client_context", context.getClientContext());
        return seen;
    }
}
