import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public void handler(Object event, Context context) {}
}
