package app;

import com.amazonaws.services.lambda.runtime.Context;

public class big extends Base<Integer> {
    @Override
    public Object handleRequest(Integer event, Context context) {
        return "x".repeat(event);
    }
}
