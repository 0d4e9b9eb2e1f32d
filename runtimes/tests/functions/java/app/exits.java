package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;

public class exits extends Base<Integer> {
    @Override
    public Object handleRequest(Integer event, Context context) {
        System.out.println("last words");
        LambdaRuntime.getLogger().log("last log", LogLevel.ERROR);
        System.exit(event);
        return null;
    }
}
