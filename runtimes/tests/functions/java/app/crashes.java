package app;

import com.amazonaws.services.lambda.runtime.Context;

public class crashes extends Base<Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        System.out.println("last words");
        surroundings.output("/bin/kill", "-ABRT", Long.toString(ProcessHandle.current().pid()));
        throw new IllegalStateException("nobody was killed");
    }
}
