import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        if (event.equals("works")) return "works";
        new Thread(() -> {
            try {
                Thread.sleep(60_000);
            } catch (InterruptedException e) {
                // It was let go.
            }
        }).start();
        return "answered";
    }
}
