import com.amazonaws.services.lambda.runtime.Context;

public class app {
    /** Compiled into another class file, which the package lacks. */
    static class DoesNotExist {
        static final Object SOMETHING = new Object();
    }

    private static final Object NEEDED = DoesNotExist.SOMETHING;

    public Object handler(Object event, Context context) {
        return NEEDED;
    }
}
