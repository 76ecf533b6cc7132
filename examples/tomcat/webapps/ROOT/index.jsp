<%@ page session="true" contentType="text/html; charset=UTF-8" %><%
    Integer visits = (Integer) session.getAttribute("visits");
    visits = visits == null ? 1 : visits + 1;
    session.setAttribute("visits", visits);
%><!DOCTYPE html>
<html lang="en">
<head><title>A session on two Tomcats</title></head>
<body>
<h1>From <%= System.getenv("TANDEM_NODE") %></h1>
<table>
<tr><td>Session</td><td><%= session.getId() %></td></tr>
<tr><td>Created</td><td><%= new java.util.Date(session.getCreationTime()).toInstant() %></td></tr>
<tr><td>Visits</td><td><%= visits %></td></tr>
<tr><td>Tomcat</td><td><%= application.getServerInfo() %></td></tr>
</table>
<p>Reload: the Tomcat changes, the session does not. Kill one meanwhile: <code>tandem node kill app1</code></p>
</body>
</html>
