package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;

public class log_size extends Base<Integer> {
    @Override
    public Object handleRequest(Integer event, Context context) {
        context.getLogger().log("y".repeat(event), LogLevel.ERROR);
        return null;
    }
}
