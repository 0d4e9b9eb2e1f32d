package app;

import com.amazonaws.services.lambda.runtime.Context;

public class fails extends Base<String> {
    @Override
    public Object handleRequest(String event, Context context) {
        throw new IllegalArgumentException("grüße: " + event);
    }
}
