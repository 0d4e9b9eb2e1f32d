package hearth.bootstrap;

import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** The context of one invocation. */
final class CallContext implements Context {
    /** Of the function, from INIT. */
    record About(String name, String version, String arn, int memory, String group, String stream) {
        static About of(Map<?, ?> f) {
            int memory = f.get("memory_mb") instanceof Number number ? number.intValue() : 0;
            return new About(text(f, "name"), text(f, "version"), text(f, "arn"), memory, text(f, "log_group"), text(f, "log_stream"));
        }
    }

    private final About about;
    private final Wire.Call call;
    private final ClientContext client;
    private final CognitoIdentity identity;

    CallContext(About about, Wire.Call call) {
        this.about = about;
        this.call = call;
        this.client = call.clientContext.isEmpty() ? null : new Told(object(call.clientContext, "client context"));
        this.identity = call.cognitoIdentity.isEmpty() ? null : new Identity(object(call.cognitoIdentity, "Cognito identity"));
    }

    private static Map<?, ?> object(String json, String what) {
        try {
            if (Json.parse(json.getBytes(StandardCharsets.UTF_8)) instanceof Map<?, ?> object) return object;
            throw new IllegalArgumentException("Unable to parse the " + what + ": expected a JSON object");
        } catch (Json.Malformed e) {
            throw new IllegalArgumentException("Unable to parse the " + what + " as JSON: " + e.getMessage());
        }
    }

    private static String text(Map<?, ?> of, String name) {
        Object value = of.get(name);
        if (value == null || value instanceof String) return (String) value;
        return new String(Json.bytes(value), StandardCharsets.UTF_8);
    }

    private static Map<String, String> texts(Map<?, ?> of, String name) {
        Map<String, String> texts = new LinkedHashMap<>();
        if (of.get(name) instanceof Map<?, ?> members) {
            for (Object member : members.keySet()) texts.put((String) member, text(members, (String) member));
        }
        return texts;
    }

    /** A client context; values that are no texts are JSON in it. */
    private record Told(Map<?, ?> members) implements ClientContext {
        @Override
        public Client getClient() {
            return members.get("client") instanceof Map<?, ?> client ? new App(client) : null;
        }

        @Override
        public Map<String, String> getCustom() {
            return texts(members, "custom");
        }

        @Override
        public Map<String, String> getEnvironment() {
            return texts(members, "env");
        }
    }

    private record App(Map<?, ?> members) implements Client {
        @Override
        public String getInstallationId() {
            return text(members, "installation_id");
        }

        @Override
        public String getAppTitle() {
            return text(members, "app_title");
        }

        @Override
        public String getAppVersionName() {
            return text(members, "app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return text(members, "app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return text(members, "app_package_name");
        }
    }

    private record Identity(Map<?, ?> members) implements CognitoIdentity {
        @Override
        public String getIdentityId() {
            return text(members, "cognitoIdentityId");
        }

        @Override
        public String getIdentityPoolId() {
            return text(members, "cognitoIdentityPoolId");
        }
    }

    @Override
    public String getAwsRequestId() {
        return call.requestId;
    }

    @Override
    public String getLogGroupName() {
        return about.group;
    }

    @Override
    public String getLogStreamName() {
        return about.stream;
    }

    @Override
    public String getFunctionName() {
        return about.name;
    }

    @Override
    public String getFunctionVersion() {
        return about.version;
    }

    @Override
    public String getInvokedFunctionArn() {
        return call.functionArn.isEmpty() ? about.arn : call.functionArn;
    }

    @Override
    public CognitoIdentity getIdentity() {
        return identity;
    }

    @Override
    public ClientContext getClientContext() {
        return client;
    }

    @Override
    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, Math.min(Integer.MAX_VALUE, call.deadlineMs - System.currentTimeMillis()));
    }

    @Override
    public int getMemoryLimitInMB() {
        return about.memory;
    }

    @Override
    public LambdaLogger getLogger() {
        return Logger.INSTANCE;
    }

    @Override
    public String getXrayTraceId() {
        return call.traceId.isEmpty() ? null : call.traceId;
    }
}
