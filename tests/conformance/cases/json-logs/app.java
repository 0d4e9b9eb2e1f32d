import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public Object handler(Object event, Context context) throws Exception {
        System.out.println("{\"level\": \"error\", \"message\": \"structured trouble\", \"order\": 17}");
        System.out.println("{\"level\": \"WARN\", \"msg\": \"in capitals\"}");
        System.out.println("{\"level\": \"debug\", \"message\": \"quiet\"}");
        System.out.println("{\"message\": \"no level\"}");
        System.out.println("{\"level\": \"error\" not an object");
        return "done";
    }
}
