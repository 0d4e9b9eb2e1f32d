import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) {
        if (event.equals("works")) return "works";
        return inner();
    }

    private static Object inner() {
        throw new IllegalArgumentException("it broke: 💥");
    }
}
