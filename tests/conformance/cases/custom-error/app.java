import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public static class OutOfCheese extends RuntimeException {
        OutOfCheese(String message) {
            super(message);
        }
    }

    public Object handler(Object event, Context context) {
        if (event.equals("works")) return "works";
        throw new OutOfCheese("no cheddar");
    }
}
