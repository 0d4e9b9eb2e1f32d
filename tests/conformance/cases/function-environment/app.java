import java.util.LinkedHashMap;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    private static final Map<String, String> AT_LOAD = new LinkedHashMap<>();

    static {
        for (String name : new String[] {"PLAIN", "SPACES", "EQUALS", "QUOTES", "UNICODE", "EMPTY"}) {
            AT_LOAD.put(name, System.getenv(name));
        }
    }

    public static Map<String, String> handler(Object event, Context context) {
        return AT_LOAD;
    }
}
