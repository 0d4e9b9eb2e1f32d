import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Map<String, Integer> handler(Object event, Context context) throws InterruptedException {
        int first = context.getRemainingTimeInMillis();
        Thread.sleep(100);
        return Map.of("first", first, "elapsed", first - context.getRemainingTimeInMillis());
    }
}
