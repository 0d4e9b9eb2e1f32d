import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public List<String> handler(Map<String, String> event, Context context) throws IOException {
        List<String> found = new ArrayList<>();
        for (String name : new String[] {"HEARTH_TOKEN", "HEARTH_TEST_TAG", "HEARTH_DATA_DIR", "TMPDIR", "RUST_BACKTRACE"}) {
            if (System.getenv(name) != null) found.add(name);
        }
        try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
            for (Path process : processes) {
                try {
                    if (new String(Files.readAllBytes(process.resolve("environ"))).contains(event.get("tag"))) found.add(process.toString());
                } catch (IOException e) {
                    // Not ours to read.
                }
            }
        }
        return found;
    }
}
