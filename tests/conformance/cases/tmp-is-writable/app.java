import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        boolean kept = new File("/tmp/folder/script").exists();
        new File("/tmp/folder").mkdirs();
        Files.writeString(Path.of("/tmp/folder/script"), "#!/bin/sh\necho hello\n");
        new File("/tmp/folder/script").setExecutable(true);
        Process ran = new ProcessBuilder("/tmp/folder/script").start();
        String read = new String(ran.getInputStream().readAllBytes()).strip();
        return Map.of("read", read, "status", ran.waitFor(), "kept", kept);
    }
}
