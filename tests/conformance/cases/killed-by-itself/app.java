import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        if (event.equals("works")) return "works";
        new ProcessBuilder("kill", "-KILL", Long.toString(ProcessHandle.current().pid())).start().waitFor();
        Thread.sleep(10_000);
        return null;
    }
}
