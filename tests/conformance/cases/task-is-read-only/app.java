import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        List<String> written = new ArrayList<>();
        for (String place : List.of("/var/task", "/var/runtime", "/usr", "/usr/bin", "/etc", "/", "/proc", "/sys", "/dev")) {
            try {
                Files.writeString(Path.of(place, "planted"), "x");
                written.add(place);
            } catch (IOException e) {
                // As it should be.
            }
        }
        Path own = Path.of("/var/task/app.class");
        if (own.toFile().setWritable(true, false)) written.add("mode of app.class");
        if (own.toFile().delete()) written.add("app.class removed");
        return Map.of("written", written);
    }
}
