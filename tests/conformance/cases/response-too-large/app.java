import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        return event.equals("works") ? "works" : "x".repeat(7_000_000);
    }
}
