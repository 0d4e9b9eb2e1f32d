import com.amazonaws.services.lambda.runtime.Context;

public class app {
    private static int calls;

    public int handler(Object event, Context context) {
        return ++calls;
    }
}
