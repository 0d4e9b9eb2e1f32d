package app;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

public class later extends Base<Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        return CompletableFuture.supplyAsync(() -> Map.of("later", event));
    }
}
