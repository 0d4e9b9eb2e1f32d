package app;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneId;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import com.amazonaws.services.lambda.runtime.Context;

public class surroundings extends Base<List<String>> {
    @Override
    public Object handleRequest(List<String> names, Context context) {
        Map<String, Object> env = new LinkedHashMap<>();
        names.forEach(name -> env.put(name, System.getenv(name)));
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("seen_at_load", SEEN_AT_LOAD);
        seen.put("env", env);
        seen.put("child", output("/usr/bin/env").lines().toList());
        seen.put("cwd", output("/bin/pwd").strip());
        seen.put("hour", Instant.EPOCH.atZone(ZoneId.systemDefault()).getHour());
        return seen;
    }

    static String output(String... command) {
        try {
            return new String(new ProcessBuilder(command).start().getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }
}
