package app;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;

public class later_fails extends Base<String> {
    @Override
    public Object handleRequest(String event, Context context) {
        return CompletableFuture.failedFuture(new NoSuchElementException("not found: " + event));
    }
}
