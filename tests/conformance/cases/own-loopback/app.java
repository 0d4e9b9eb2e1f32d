import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import com.amazonaws.services.lambda.runtime.Context;

public class app {
    public String handler(Object event, Context context) throws IOException {
        try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Thread answering = new Thread(() -> {
                try (Socket client = server.accept()) {
                    client.getOutputStream().write("hello".getBytes());
                } catch (IOException e) {
                    throw new IllegalStateException(e);
                }
            });
            answering.setDaemon(true);
            answering.start();
            try (Socket client = new Socket(server.getInetAddress(), server.getLocalPort())) {
                client.setSoTimeout(2000);
                return new String(client.getInputStream().readAllBytes());
            }
        }
    }
}
