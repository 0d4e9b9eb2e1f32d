package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;

public class logs extends Base<String> {
    @Override
    public Object handleRequest(String event, Context context) {
        for (LogLevel level : LogLevel.values()) {
            if (level.compareTo(LogLevel.DEBUG) < 0) continue;
            context.getLogger().log("at " + level.name().toLowerCase() + ": " + event, level);
        }
        return null;
    }
}
