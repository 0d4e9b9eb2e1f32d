package app;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.Map;

public class client extends Base<Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        return Map.of(
                "title", context.getClientContext().getClient().getAppTitle(),
                "custom", context.getClientContext().getCustom(),
                "env", context.getClientContext().getEnvironment(),
                "identity", context.getIdentity().getIdentityId(),
                "pool", context.getIdentity().getIdentityPoolId());
    }
}
