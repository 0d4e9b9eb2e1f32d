import java.util.ArrayList;
import java.util.List;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        if (event.equals("works")) return "works";
        List<byte[]> held = new ArrayList<>();
        while (true) held.add(new byte[8 * 1024 * 1024]);
    }
}
