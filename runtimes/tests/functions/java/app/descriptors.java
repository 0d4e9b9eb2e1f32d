package app;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

import com.amazonaws.services.lambda.runtime.Context;

public class descriptors extends Base<Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        String child = surroundings.output("/bin/ls", "-l", "/proc/self/fd");
        try {
            List<String> streams = List.of(
                    Files.readSymbolicLink(Path.of("/proc/self/fd/3")).toString(),
                    Files.readSymbolicLink(Path.of("/proc/self/fd/4")).toString());
            return Map.of("streams", streams, "child", child);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }
}
