import java.util.HashMap;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        if (event.equals("works")) return "works";
        Map<String, Object> itself = new HashMap<>();
        itself.put("a", itself);
        return itself;
    }
}
