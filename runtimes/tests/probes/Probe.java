package hearth.bootstrap;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The Java bootstrap's codec, for test_vectors.py: a JSON list of jobs on stdin, of results on stdout. */
public final class Probe {
    private static final Map<String, Integer> KINDS = Map.of(
            "READY", Wire.READY, "INIT_ERROR", Wire.INIT_ERROR, "DATA", Wire.DATA, "END", Wire.END, "ERROR", Wire.ERROR);

    private Probe() {}

    private static byte[] encode(String kind, Map<?, ?> f) {
        byte[] payload = f.containsKey("payload_hex") ? HexFormat.of().parseHex((String) f.get("payload_hex")) : null;
        switch (kind) {
            case "HELLO":
                return Wire.hello((String) f.get("runtime"));
            case "LOG":
                byte[] message = ((String) f.get("message")).getBytes(StandardCharsets.UTF_8);
                return Wire.log(((Number) f.get("time_us")).longValue(), (Integer) f.get("level"), (String) f.get("request_id"), message);
            case "RESPONSE":
                return Wire.response((Boolean) f.get("last"), payload, payload.length);
            default:
                String json = (String) f.get("json");
                byte[] body = payload != null ? payload : json == null ? new byte[0] : json.getBytes(StandardCharsets.UTF_8);
                return Wire.frame(KINDS.get(kind), body);
        }
    }

    private static Map<String, Object> decode(String stream, byte[] frame) throws Exception {
        int[] allowed = stream.equals("control") ? new int[] {Wire.INIT} : new int[] {Wire.INVOKE, Wire.DATA, Wire.END};
        Wire.Frame read = new Wire.Reader(new ByteArrayInputStream(frame), allowed).next();
        Map<String, Object> fields = new LinkedHashMap<>();
        if (read.kind() == Wire.INVOKE) {
            Wire.Call call = Wire.decodeInvoke(read.body());
            fields.put("deadline_ms", call.deadlineMs);
            fields.put("request_id", call.requestId);
            fields.put("trace_id", call.traceId);
            fields.put("function_arn", call.functionArn);
            fields.put("client_context", call.clientContext);
            fields.put("cognito_identity", call.cognitoIdentity);
            fields.put("last", call.last);
            fields.put("payload_hex", HexFormat.of().formatHex(call.payload));
        } else if (read.kind() == Wire.INIT) {
            Wire.decodeInit(read.body());
            fields.put("json", new String(read.body(), StandardCharsets.UTF_8));
        } else if (read.kind() == Wire.DATA) {
            fields.put("payload_hex", HexFormat.of().formatHex(read.body()));
        }
        return fields;
    }

    public static void main(String[] arguments) throws Exception {
        List<Object> results = new ArrayList<>();
        for (Object one : (List<?>) Json.parse(System.in.readAllBytes())) {
            Map<?, ?> job = (Map<?, ?>) one;
            try {
                if (job.get("do").equals("encode")) {
                    results.add(Map.of("hex", HexFormat.of().formatHex(encode((String) job.get("kind"), (Map<?, ?>) job.get("fields")))));
                } else {
                    results.add(Map.of("fields", decode((String) job.get("stream"), HexFormat.of().parseHex((String) job.get("hex")))));
                }
            } catch (ProtocolError e) {
                results.add(Map.of("refused", e.getMessage()));
            }
        }
        System.out.write(Json.bytes(results));
        System.out.flush();
    }
}
