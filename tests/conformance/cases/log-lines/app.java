import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        System.out.println("to stdout");
        System.err.println("to stderr");
        System.out.println("two\nlines");
        new ProcessBuilder("/bin/echo", "from a child").inheritIO().start().waitFor();
        System.out.print("the last, without an end");
        return "done";
    }
}
