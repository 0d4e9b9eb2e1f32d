package app;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.ArrayList;
import java.util.List;

public class unserialisable extends Base<Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        List<Object> within = new ArrayList<>();
        within.add(within);
        return within;
    }
}
