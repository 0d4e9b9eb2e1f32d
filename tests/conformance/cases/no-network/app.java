import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public List<Object> handler(Map<String, List<List<Object>>> event, Context context) {
        List<Object> reached = new ArrayList<>();
        for (List<Object> address : event.get("addresses")) {
            try (Socket socket = new Socket()) {
                socket.connect(new InetSocketAddress((String) address.get(0), (Integer) address.get(1)), 1000);
                reached.add(address);
            } catch (IOException e) {
                // As it should be.
            }
        }
        return reached;
    }
}
