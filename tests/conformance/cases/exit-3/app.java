import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        if (event.equals("works")) return "works";
        System.exit(3);
        return null;
    }
}
