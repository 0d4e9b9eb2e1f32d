package app;

import com.amazonaws.services.lambda.runtime.Context;

public class prints extends Base<Integer> {
    @Override
    public Object handleRequest(Integer event, Context context) {
        System.out.println("to stdout " + event);
        System.err.println("to stderr " + event);
        System.out.print("no newline");
        return null;
    }
}
