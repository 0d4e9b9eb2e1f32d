import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        Map<?, ?> members = (Map<?, ?>) event;
        System.out.println(members.get("rtl") + " " + members.get("astral") + " 🦀");
        String astral = (String) members.get("astral");
        return Map.of("event", event, "characters", astral.codePointCount(0, astral.length()));
    }
}
