import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        LambdaLogger logger = context.getLogger();
        logger.log("an info", LogLevel.INFO);
        logger.log("a warning", LogLevel.WARN);
        logger.log("an error", LogLevel.ERROR);
        return "done";
    }
}
