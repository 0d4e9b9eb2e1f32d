package raises;

public class handler implements com.amazonaws.services.lambda.runtime.RequestHandler<Object, Object> {
    public handler() {
        prepare();
    }

    static void prepare() {
        throw new SecurityException("no entry");
    }

    @Override
    public Object handleRequest(Object event, com.amazonaws.services.lambda.runtime.Context context) {
        return null;
    }
}
