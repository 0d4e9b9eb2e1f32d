import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public app() {
        throw new IllegalStateException("no database");
    }

    public Object handler(Object event, Context context) {
        return "works";
    }
}
