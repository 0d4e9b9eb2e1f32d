import java.util.ArrayList;
import java.util.List;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        List<byte[]> held = new ArrayList<>();
        for (int i = 0; i < 128; i++) held.add(new byte[1024 * 1024]);
        return held.size();
    }
}
